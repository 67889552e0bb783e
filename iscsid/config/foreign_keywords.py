"""Keywords that Linux-iSCSI knew and that have no effect here.

They are answered with a note, so that an old file goes on working. Pure.
"""

from __future__ import annotations

WITHOUT_EFFECT = {
    "SLPMulticast": "discovery by SLP does not exist here: use DiscoveryAddress",
    "SLPUnicast": "discovery by SLP does not exist here: use DiscoveryAddress",
    "DiscoveryFile": "discovery from a file was a test aid: use TargetName with Address below it",
    "ReadSize": "it belonged to DiscoveryFile",
    "DefaultAddress": "it belonged to DiscoveryFile",
    "Target,Lun": "LUNs need not be listed to be activated: see LUNs",
}
"""Keywords of Linux-iSCSI that have no effect here, and the note about each."""

OPENED_ENTRIES = frozenset({"SLPMulticast", "SLPUnicast", "DiscoveryFile"})

BY_NAME = {name.lower(): name for name in WITHOUT_EFFECT}
