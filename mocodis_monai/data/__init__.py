"""Images to learn from: the procedural phantom, real volumes from packages, and records that list both.

May hold: tissues, contrast, anatomy, image sources and manifests. No MONAI transforms (they live in
``mocodis_monai.transforms``) and no motion.
"""
