"""The one training loop: baselines, adversarial training and substitutes all go through `fit`.

Every draw is a function of (seed, epoch, step), so a training that resumes from an epoch's checkpoint ends in the same
weights as one that was never interrupted.
"""

from robustnoise.models.classifier import evaluating
from robustnoise.training.hooks import Batch, Forward, ForwardHook, Hook, InputHook, LossHook, ReplayHook, WeightHook
from robustnoise.training.images import as_floats, shifted, warped
from robustnoise.training.leading import LeadingTraining
from robustnoise.training.loop import TrainingDiverged, fit, need_bfloat16
from robustnoise.training.schedule import Precision, Schedule
from robustnoise.training.selection import HeldOut
from robustnoise.training.source import LiveSource

__all__ = [
    "Batch",
    "Forward",
    "ForwardHook",
    "HeldOut",
    "Hook",
    "InputHook",
    "LeadingTraining",
    "LiveSource",
    "LossHook",
    "Precision",
    "ReplayHook",
    "Schedule",
    "TrainingDiverged",
    "WeightHook",
    "as_floats",
    "evaluating",
    "fit",
    "need_bfloat16",
    "shifted",
    "warped",
]
