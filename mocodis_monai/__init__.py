"""MoCoDis: retrospective motion correction in MRI with disentangled codes, as a MONAI bundle.

Imports run one way: motion -> data -> transforms -> networks -> losses, inferers, metrics, engines
-> release, evaluation, report -> correction of scans -> export, label_app -> cli (CONTRIBUTING.md has the whole
order). This module imports nothing, so that ``mocodis --help`` answers before torch is loaded.
"""

__version__ = "0.1.0"
