"""Correct the scan shown in 3D Slicer through a MONAI Label server, and show the answer as a volume.

Start the server (docs/monai_label.md), load a scan into Slicer, and in its Python console:

    exec(open("/path/to/examples/slicer_correct.py").read())
    correct_shown_volume("http://127.0.0.1:8000")

The corrected volume appears with the scan faded over it: the fade slider of the slice views compares them.
``ask_server`` needs nothing but Python and serves other programs as well. Research use only.
"""

from __future__ import annotations

import email
import email.policy
import json
import tempfile
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any, NamedTuple

TIMEOUT_S = 600.0
CORRECTED = "MoCoDis.corrected"  # attribute of the nodes that were made here


class Answer(NamedTuple):
    """What the server sends: the corrected scan as a file, and what it says about it."""

    image: bytes
    file_name: str
    said: dict[str, Any]


def ask_server(
    server: str,
    scan: str | Path,
    model: str = "mocodis",
    params: dict[str, Any] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Send ``scan`` to the server's ``/infer/``, with MONAI Label's own ``params``, and take the answer apart.

    Raises:
        RuntimeError: the server refused the scan, with its reason; or it cannot be reached.
    """
    scan = Path(scan)
    boundary = uuid.uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\n\r\n{json.dumps(params or {})}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_plain_name(scan)}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + scan.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    request = urllib.request.Request(f"{server}/infer/{model}?output=all", data=body, headers=kind)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            return _answer(response.headers["Content-Type"], response.read())
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{server} refused the scan ({error.code}): {_reason(error.read())}") from error
    except OSError as error:
        raise RuntimeError(f"{server} cannot be reached ({error}). Is the MONAI Label server running?") from error


def correct_shown_volume(server: str = "http://127.0.0.1:8000", model: str = "mocodis") -> Any:
    """In Slicer: correct the volume in the background of the slice views; give back the node of the corrected one.

    ``model`` is what the server calls it: "mocodis" in our app, the bundle's name in MONAI's bundle app.
    """
    import slicer

    shown = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetBackgroundLayer().GetVolumeNode()
    if shown is None:
        raise RuntimeError("No volume is shown. Load a scan first.")
    if shown.GetAttribute(CORRECTED):
        raise RuntimeError("The volume shown is a corrected one. Show the scan itself first.")
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder) / "scan.nii.gz"
        slicer.util.exportNode(shown, str(scan))
        answer = ask_server(server, scan, model)
        corrected = Path(folder) / answer.file_name
        corrected.write_bytes(answer.image)
        node = slicer.util.loadVolume(str(corrected), {"name": f"{shown.GetName()} corrected"})
    node.SetAttribute(CORRECTED, "1")
    # The same grey window for both: a difference in brightness would look like a correction.
    window = shown.GetDisplayNode()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevel(window.GetWindow(), window.GetLevel())
    slicer.util.setSliceViewerLayers(background=node, foreground=shown, foregroundOpacity=0.0)
    print(json.dumps(answer.said, indent=1))
    return node


def _plain_name(scan: Path) -> str:
    """A name without the patient's: the server keeps it in its log."""
    return "scan.nii" if scan.name.endswith(".nii") else "scan.nii.gz"


def _answer(content_type: str, body: bytes) -> Answer:
    headed = f"Content-Type: {content_type}\r\n\r\n".encode() + body
    message = email.message_from_bytes(headed, policy=email.policy.HTTP)
    parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
    image = parts["image"]
    said = json.loads(parts["params"].get_payload(decode=True))
    return Answer(image.get_payload(decode=True), image.get_filename() or "corrected.nii.gz", said)


def _reason(body: bytes) -> str:
    text = body.decode(errors="replace")
    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return text[:500]
