"""Networks in plain torch: the quantizer, the hierarchical VQ-VAE, the fidelity branch, the prior, the corrector."""

from mocodis_monai.networks.fidelity_branch import FidelityBranch
from mocodis_monai.networks.gate import no_harm_gate
from mocodis_monai.networks.hierarchical_vqvae import ContentCodes, Embeddings, HierarchicalVQVAE, MotionCodes
from mocodis_monai.networks.motion_corrector import MotionCorrector
from mocodis_monai.networks.prior import ContentPrior, LevelIndices, LevelLogits
from mocodis_monai.networks.residual_quantizer import ResidualQuantization, ResidualQuantizer
from mocodis_monai.networks.results import Correction
from mocodis_monai.networks.vector_quantizer import Quantization, VectorQuantizer

__all__ = [
    "ContentCodes",
    "ContentPrior",
    "Correction",
    "Embeddings",
    "FidelityBranch",
    "HierarchicalVQVAE",
    "LevelIndices",
    "LevelLogits",
    "MotionCodes",
    "MotionCorrector",
    "Quantization",
    "ResidualQuantization",
    "ResidualQuantizer",
    "VectorQuantizer",
    "no_harm_gate",
]
