"""The app. MONAI Label loads this file from the folder that ``monailabel start_server --app`` names."""

from __future__ import annotations

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask

from mocodis_monai import __version__
from mocodis_monai.label_app.correction_task import CorrectionTask

__all__ = ["MoCoDisApp"]


class MoCoDisApp(MONAILabelApp):
    """One model, ``mocodis``: the corrected scan as an image. There is nothing to label and nothing to train.

    Args:
        app_dir: this folder.
        studies: folder with scans, as MONAI Label passes it on.
        conf: settings from ``--conf NAME VALUE``; ``weights`` names a checkpoint, the released one by default.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="MoCoDis",
            description="Retrospective motion correction of MR images. Research use only.",
            version=__version__,
        )

    def init_infers(self) -> dict[str, InferTask]:
        """The models by name."""
        return {"mocodis": CorrectionTask(self.conf.get("weights"))}
