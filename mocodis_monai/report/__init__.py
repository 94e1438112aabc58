"""Pictures and pages for people: the comparison of one volume, and the report of an evaluation (``.evaluation``).

May hold: drawing and writing of results. No measuring (``evaluation``) and no correcting.
"""

from .comparison import BACKGROUND, TEXT, SaveComparisond, is_our_picture, save_comparison

__all__ = ["BACKGROUND", "TEXT", "SaveComparisond", "is_our_picture", "save_comparison"]
