"""What it costs to claim and note one more scan in ``results.jsonl``, and to open and close it, by its length.

    python -m benchmarks.ledger
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from mocodis_monai.correct.ledger import FILE_NAME, Ledger

SIZES = (1_000, 10_000, 100_000)
PUTS = 100
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
    """Print one row per size: records, processor time to read them, to claim and put one, to compact; size in MB."""
    print("| records | read at the start, s | claim and put one, ms | compact at the end, s | MB |")
    print("|---|---|---|---|---|")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILE_NAME
            path.write_text("".join(json.dumps({**RECORD, "output": f"{n:06d}.nii.gz"}) + "\n" for n in range(size)))
            start = time.process_time()
            ledger = Ledger(Path(folder))
            read = time.process_time() - start
            start = time.process_time()
            for number in range(PUTS):
                name = f"new_{PUTS - number}.nii.gz"
                with ledger.claimed(Path(folder, name)):
                    ledger.put({**RECORD, "output": name})
            put = (time.process_time() - start) / PUTS
            start = time.process_time()
            ledger.compact()
            compact = time.process_time() - start
            print(f"| {size} | {read:.2f} | {1000 * put:.2f} | {compact:.2f} | {path.stat().st_size / 1e6:.1f} |")


if __name__ == "__main__":
    main()
