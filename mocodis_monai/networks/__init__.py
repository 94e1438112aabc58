"""Networks in plain torch: the quantizer, the hierarchical VQ-VAE, the fidelity branch, the prior, the corrector."""

from mocodis_monai.networks.fidelity_branch import FidelityBranch
from mocodis_monai.networks.hierarchical_vqvae import Codes, Embeddings, HierarchicalVQVAE
from mocodis_monai.networks.motion_corrector import Correction, MotionCorrector, no_harm_gate
from mocodis_monai.networks.prior import ContentPrior, LevelIndices, LevelLogits
from mocodis_monai.networks.vector_quantizer import Quantization, VectorQuantizer

__all__ = [
    "Codes",
    "ContentPrior",
    "Correction",
    "Embeddings",
    "FidelityBranch",
    "HierarchicalVQVAE",
    "LevelIndices",
    "LevelLogits",
    "MotionCorrector",
    "Quantization",
    "VectorQuantizer",
    "no_harm_gate",
]
