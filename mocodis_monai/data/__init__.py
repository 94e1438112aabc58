"""Images to learn from and to correct: the procedural phantom, NIfTI and DICOM files, and records that list them.

May hold: tissues, contrast, anatomy, image sources, reading and writing of files, and manifests. No MONAI transforms
(they live in ``mocodis_monai.transforms``) and no motion.
"""
