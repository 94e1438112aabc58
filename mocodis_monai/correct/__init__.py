"""``mocodis correct``: scans found, corrected one by one or many at once, noted, shown and reported.

Imports run one way here too: ledger -> scans -> correction -> batch -> processes, console, run_report -> run. This
package imports nothing by itself, so that the command answers before torch is loaded.
"""
