"""Networks in plain torch: the quantizer, the hierarchical VQ-VAE, the fidelity branch, the prior, the corrector."""

from mocodis_monai.networks.fidelity_branch import CoarseFeatures, FidelityBranch, FineFeatures
from mocodis_monai.networks.gate import no_harm_gate
from mocodis_monai.networks.hierarchical_vqvae import ContentCodes, Embeddings, HierarchicalVQVAE, MotionCodes
from mocodis_monai.networks.motion_corrector import MotionCorrector
from mocodis_monai.networks.prior import (
    CodeEmbeddings,
    ContentPrior,
    LevelIndices,
    LevelLogits,
    LevelLogProbs,
    LevelMasks,
    LevelNats,
    PriorEvidence,
)
from mocodis_monai.networks.residual_quantizer import ResidualQuantization, ResidualQuantizer
from mocodis_monai.networks.results import Correction, Drawing, Reading, Reconstruction, Refinement
from mocodis_monai.networks.vector_quantizer import Quantization, VectorQuantizer

__all__ = [
    "CoarseFeatures",
    "CodeEmbeddings",
    "ContentCodes",
    "ContentPrior",
    "Correction",
    "Drawing",
    "Embeddings",
    "FidelityBranch",
    "FineFeatures",
    "HierarchicalVQVAE",
    "LevelIndices",
    "LevelLogProbs",
    "LevelLogits",
    "LevelMasks",
    "LevelNats",
    "MotionCodes",
    "MotionCorrector",
    "PriorEvidence",
    "Quantization",
    "Reading",
    "Reconstruction",
    "Refinement",
    "ResidualQuantization",
    "ResidualQuantizer",
    "VectorQuantizer",
    "no_harm_gate",
]
