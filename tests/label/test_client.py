"""The client that Slicer's script uses, without a server: what it takes apart, and what it says when it cannot ask."""

from __future__ import annotations

import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.slicer_correct import _answer, ask_server


@given(image=st.binary(max_size=300), ending=st.sampled_from([b"", b"\n", b"\r", b"\r\n", b"--", b"\n\n"]))
def test_the_image_comes_out_byte_for_byte(image, ending):
    image += ending
    said = {"motion_score_mm": 1.5, "notice": "µ"}
    body = b'--0b1c\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
    body += json.dumps(said).encode()
    body += b'\r\n--0b1c\r\nContent-Disposition: form-data; name="image"; filename="a.nii.gz"\r\n'
    body += b"Content-Type: application/octet-stream\r\n\r\n" + image + b"\r\n--0b1c--\r\n"
    answer = _answer("multipart/form-data; boundary=0b1c", body)
    assert answer == (image, "a.nii.gz", said)


def test_a_server_that_is_not_there_is_said(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"scan")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: nobody answers
        with pytest.raises(RuntimeError, match=r"cannot be reached .* Is the MONAI Label server running\?"):
            ask_server(f"http://127.0.0.1:{free.getsockname()[1]}", tmp_path / "scan.nii.gz", timeout_s=10)
