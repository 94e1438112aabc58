"""What it costs to note one more scan in ``results.jsonl``, by how many it holds already.

    python -m benchmarks.ledger
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from mocodis_monai.ledger import FILE_NAME, Ledger

SIZES = (1_000, 10_000, 100_000)
RECORD = {
    "scan": "subject/t1.nii.gz",
    "status": "done",
    "motion_score_mm": 1.0,
    "decision": "corrected",
    "gate": 1.0,
    "log_likelihood_nats": -3.0,
    "time_s": 20.0,
    "fingerprint": "0" * 64,
    "sha256": {"output": "0" * 64, "picture": "0" * 64},
}


def main() -> None:
    """Print one row per size: records, seconds of processor time to put one, size of the file."""
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILE_NAME
            path.write_text("".join(json.dumps({**RECORD, "output": f"{n:06d}.nii.gz"}) + "\n" for n in range(size)))
            ledger = Ledger(Path(folder))
            start = time.process_time()
            ledger.put({**RECORD, "output": "new.nii.gz"})
            taken = time.process_time() - start
            print(f"| {size} | {taken:.2f} | {path.stat().st_size / 1e6:.1f} MB |")


if __name__ == "__main__":
    main()
