"""What the tests of the kernel's hand need in the virtual machine: a target, a login, and patience.

The login here is the shortest that works and knows nothing of ``protocol.login``, so that a fault
there cannot hide one in the hand, or the other way round.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from iscsid.binding import Binding
from iscsid.facts import Fact, SessionStarted
from iscsid.jobs import JobId
from iscsid.orders import KernelTimeouts, ResumeSession, SessionDescription, StartSession
from iscsid.protocol.codes import Stage
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import AgreedParameters, Digest, Isid
from iscsid.protocol.pdu import LoginRequest, LoginResponse
from iscsid.protocol.reader import PduReader
from iscsid.system.kernel import Kernel
from iscsid.system.sysfs import Sysfs

INITIATOR = IscsiName("iqn.2004-09.org.example:initiator")
TARGET = IscsiName("iqn.2004-09.org.example:disks")
PORTAL = Portal("127.0.0.1", 3260)
BINDING = Binding(0, 3)
MARKER = "iscsid:0:3:800000000003"
ISID = Isid(bytes.fromhex("800000000003"))
TIMEOUTS = KernelTimeouts(
    recovery=-1, abort=11, lun_reset=12, target_reset=13, ping_interval=14, ping_timeout=15
)
PATIENCE = 60.0
"""Seconds. The machine is emulated, and may be busy with other things."""

Result = TypeVar("Result")


def until(question: Callable[[], Result | None]) -> Result:
    """Ask until the answer is neither ``None`` nor false."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        if answer := question():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{question} stayed unanswered for {PATIENCE:.0f} seconds")


def until_event(kernel: Kernel, kind: type[Result]) -> Result:
    """Read events until one of this kind has come; the others are dropped."""

    def look() -> Result | None:
        return next((fact for fact in kernel.read_events() if isinstance(fact, kind)), None)

    return until(look)


def run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}: {result.stderr}{result.stdout}"
    return result.stdout


def tgtadm(*arguments: str) -> None:
    run("tgtadm", "--lld", "iscsi", *arguments)


@contextmanager
def tgtd(directory: Path) -> Iterator[None]:
    """Run tgtd with one target: LUN 1 a disk, LUN 2 a CD, LUN 3 another disk."""
    process = subprocess.Popen(["tgtd", "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens() or None)
        tgtadm("--mode", "target", "--op", "new", "--tid", "1", "-T", TARGET)
        for lun, kind in ((1, "disk"), (2, "cd"), (3, "disk")):
            image = directory / f"lun{lun}"
            image.touch()
            os.truncate(image, 32 << 20)
            unit = ["--tid", "1", "--lun", str(lun), "-b", str(image), "--device-type", kind]
            tgtadm("--mode", "logicalunit", "--op", "new", *unit)
        tgtadm("--mode", "target", "--op", "bind", "--tid", "1", "-I", "ALL")
        yield
    finally:
        process.kill()
        process.wait()


def _listens() -> bool:
    try:
        socket.create_connection((PORTAL.host, PORTAL.port), timeout=1).close()
    except OSError:
        return False
    return (
        subprocess.run(
            ["tgtadm", "--mode", "system", "--op", "show"], capture_output=True, check=False
        ).returncode
        == 0
    )


def log_in(
    *, cmd_sn: int = 1, portal: Portal = PORTAL, target: IscsiName = TARGET, digest: str = "None"
) -> tuple[socket.socket, SessionDescription]:
    """Log in on a raw socket, and describe the session to the kernel."""
    sock = socket.create_connection((portal.host, portal.port), timeout=PATIENCE)
    keys = {
        "InitiatorName": INITIATOR, "TargetName": target, "SessionType": "Normal",
        "HeaderDigest": digest, "DataDigest": digest, "InitialR2T": "No", "ImmediateData": "Yes",
        "MaxRecvDataSegmentLength": "262144", "ErrorRecoveryLevel": "0", "MaxConnections": "1",
        "DefaultTime2Wait": "0", "DefaultTime2Retain": "0", "MaxOutstandingR2T": "1",
    }  # fmt: skip
    request = LoginRequest(
        transit=True, current_stage=Stage.OPERATIONAL_NEGOTIATION, next_stage=Stage(3), isid=ISID,
        initiator_task_tag=7, cmd_sn=cmd_sn, exp_stat_sn=0,
        data="".join(f"{key}={value}\0" for key, value in keys.items()).encode(),
    )  # fmt: skip
    sock.sendall(request.encode())
    response = _response(sock)
    assert response.transit and not response.status, response
    answers = dict(pair.split("=", 1) for pair in response.data.decode().split("\0") if pair)
    return sock, describe(answers, cmd_sn, (response.stat_sn + 1) % 2**32, portal, target)


def _response(sock: socket.socket) -> LoginResponse:
    reader = PduReader()
    while (pdu := reader.next_pdu()) is None:
        data = sock.recv(reader.bytes_wanted)
        assert data, "the target closed the connection during the login"
        reader.receive_data(data)
    assert isinstance(pdu, LoginResponse)
    return pdu


def describe(
    answers: dict[str, str], cmd_sn: int, exp_stat_sn: int, portal: Portal, target: IscsiName
) -> SessionDescription:
    parameters = AgreedParameters(
        header_digest=Digest(answers.get("HeaderDigest", "None")),
        data_digest=Digest(answers.get("DataDigest", "None")),
        initial_r2t=answers.get("InitialR2T", "No") == "Yes",
        immediate_data=answers.get("ImmediateData", "Yes") == "Yes",
        max_recv_data_segment_length=262144,
        target_max_recv_data_segment_length=int(answers.get("MaxRecvDataSegmentLength", "8192")),
    )
    return SessionDescription(
        target_name=target,
        initiator_name=INITIATOR,
        portal=portal,
        portal_group_tag=1,
        marker=MARKER,
        cmd_sn=cmd_sn,
        exp_stat_sn=exp_stat_sn,
        parameters=parameters,
        timeouts=TIMEOUTS,
    )


def start(kernel: Kernel, **login: str) -> SessionStarted:
    """Log in and hand over."""
    sock, description = log_in(**login)  # type: ignore[arg-type]
    fact = kernel.start_session(StartSession(BINDING, JobId(1), description), sock)
    assert isinstance(fact, SessionStarted), fact
    return fact


def resume(kernel: Kernel, sid: int, cmd_sn: int) -> Fact:
    """Log in again with the CmdSN the kernel goes on with, and hand over."""
    sock, description = log_in(cmd_sn=cmd_sn)
    return kernel.resume_session(ResumeSession(BINDING, sid, JobId(2), description), sock)


def disk_of(sid: int, lun: int) -> Path:
    """Wait for the disk of a LUN, and return its node."""

    def look() -> Path | None:
        for device in Sysfs().devices(sid):
            names = [path.name for path in device.block_devices()]
            if device.lun == lun and names and Path("/dev", names[0]).exists():
                return Path("/dev", names[0])
        return None

    return until(look)
