"""A MONAI Label app that serves the corrected image: ``main.py`` is what MONAI Label loads, the rest its task.

It runs in the environment of the MONAI Label server; nothing else of the package imports MONAI Label.
"""
