"""What each contract says, why results need it, and how a plugin that breaks it is mended."""

from __future__ import annotations

from typing import NamedTuple


class Meaning(NamedTuple):
    """One contract in words."""

    meaning: str
    """What it promises, in one sentence."""
    mend: str
    """What to do where it is broken."""


CONTRACTS = {
    "import": Meaning(
        "The package's table can be read and leads to plugin classes.",
        'Import the module in Python; PLUGINS = {"name": "module:Class"} must name dataclasses based on Defense, '
        "BlackBoxAttack, Crafter, Substitute or Model.",
    ),
    "runs": Meaning(
        "The plugin works on the toys, which are tiny images and networks, without an error of its own.",
        "Mend the line that raised; refuse what it can't do with BadParameter, BadData or MissingCapability, in words.",
    ),
    # ------------------------------------------------------------------------------------------------ every plugin
    "frozen": Meaning(
        "A configured plugin never changes, since its parameters are its identity.",
        "Decorate the class with @dataclass(frozen=True) and store nothing in it after construction.",
    ),
    "version": Meaning(
        "The version is a whole number from 1, which keeps results of an older behaviour apart.",
        "Write version = 2 in the class, and raise it by 1 whenever the same parameters give other numbers.",
    ),
    "spec-json": Meaning(
        "The spec in a record, read back, builds an equal plugin, so that every row can be made again.",
        "Let fields be numbers, texts, booleans or plugins, and keep them as they are given, in check() too.",
    ),
    "spec-text": Meaning(
        "The text that reports and boards show for it builds an equal plugin.",
        "Let fields be numbers, texts, booleans or plugins, and keep them as they are given.",
    ),
    "bad-parameter": Meaning(
        "A value of the wrong type is refused with BadParameter, which names the field.",
        "Annotate the field with its type and range, such as Annotated[Number, Field(ge=0, le=1)]; Any takes anything.",
    ),
    "global-state": Meaning(
        "It neither draws from nor sets global generators or modes: else results would depend on what ran before.",
        "Draw from the stream that is given: torch.randn(x.shape, generator=noise.generator('my-name')); call no "
        "manual_seed; put foreign code that can't do otherwise into robustnoise.api.seeded_globals.",
    ),
    "model-untouched": Meaning(
        "The classifier that it is given keeps its weights, gradients, flags, modes and hooks, also after an error.",
        "Return a new classifier around it (InputWrapper, LayerWrapper), change a copy.deepcopy of a network, take "
        "gradients with torch.autograd.grad, and take hooks off in a finally block.",
    ),
    "inputs-untouched": Meaning(
        "Images, labels and ids that are handed to it stay as they are, since others use them too.",
        "Write x = x + step, not x += step; clone before any method that ends in an underscore.",
    ),
    "seeded": Meaning(
        "The same seeds give the same bytes, whatever the state of global generators; other seeds give other draws.",
        "Draw everything from the stream that is given, let the digest follow from seed and parameters, and keep "
        "clocks, hash() and the order of sets out of it.",
    ),
    # ------------------------------------------------------------------------------------------- images and answers
    "shape": Meaning(
        "Images keep their shape, and a classifier the shape of its images and its number of classes.",
        "Return (n, C, H, W) as given; a wrapper takes input_shape and num_classes from what it wraps.",
    ),
    "dtype": Meaning("Images are float32.", "Convert with .float(); NumPy makes float64 of most things."),
    "finite": Meaning(
        "No pixel is NaN or infinite.",
        "Look for a division by a norm or a deviation of 0: clamp_min(1e-12) the divisor.",
    ),
    "bounds": Meaning("Every pixel lies in [0, 1].", "End with threat.project(x, x_adv), which also clips."),
    "eps": Meaning(
        "Every image lies in the ball of the threat model around its original.", "End with threat.project(x, x_adv)."
    ),
    "eps-levels": Meaning(
        "It is still in the ball after pixels are rounded to 8 bits.",
        "Start from the x that is given, which lies on such levels, and end with threat.project(x, x_adv).",
    ),
    "zero-eps": Meaning(
        "With eps = 0 the images come back as they were.",
        "Scale every step by threat.eps, and end with threat.project(x, x_adv).",
    ),
    "row-independence": Meaning(
        "What comes out for an image depends on this image alone, not on its neighbours or the size of the batch.",
        "Take no mean, maximum, norm or deviation over the whole batch: use dim=1 after flatten(1), losses with "
        "reduction='sum', and draw for the whole batch at once.",
    ),
    "norms": Meaning(
        "At least one of l-infinity and l2 is attacked.",
        "Raise BadParameter only for a norm that it can't do; look whether another refusal is raised for both.",
    ),
    "answer": Meaning(
        "An answer is int64 labels (n,) of real classes, -1 for an abstention, and float32 scores and logits "
        "(n, num_classes) or None.",
        "Make it with answer_from_logits; declare abstains=True where -1 occurs.",
    ),
    "passes": Meaning(
        "Forward passes are counted: Answer.passes is int64 (n,) and at most the classifier's `passes`.",
        "Set self.passes to the most that one answer costs, and add up the inner answers' passes.",
    ),
    # -------------------------------------------------------------------------------------------------- defenses
    "acts": Meaning(
        "It does something: a defense changes the classifier, an attack at least one image.",
        "Return a wrapper around the model (its digest then differs), or look why no step is taken; parameters at "
        "which a defense does nothing belong into `off` of its traits, a control is declared with control=True.",
    ),
    "traits": Meaning(
        "Traits are true as observed: the harness decides by them what may attack it and how often it is asked.",
        "Correct the trait, or the code: stochastic needs draws from the stream of each call, differentiable needs "
        "gradients that reach the image (no detach(), round() or no_grad() on the way).",
    ),
    "off-is-identity": Meaning(
        "At the parameters in `off` every answer is the undefended one, bit by bit.",
        "Return `model` itself there: return model if self.sigma == 0 else ...; or take `off` out of the traits.",
    ),
    "identity-neutral": Meaning(
        "Composed with Identity it stays itself.", "Don't override __or__ or stages(); compare by the dataclass's ==."
    ),
    "inference-mode": Meaning(
        "Under torch.inference_mode() it answers the same.",
        "Compute what needs gradients inside torch.enable_grad() on clones, or don't need them for an answer.",
    ),
    "one-noise": Meaning(
        "logits() with gradients meets the draws that predict() meets for the same stream, on images of any memory "
        "layout.",
        "Give the same names to noise.generator(...) and noise.child(...) in both, and draw into x.shape, not with "
        "randn_like.",
    ),
    "repeats": Meaning(
        "Asked draw after draw, and beside other victims, it answers bit by bit as when asked once: the harness keeps "
        "what is the same in each.",
        "Let repeating() of a LayerWrapper keep nothing that draws or that another image changes; let the digest hold, "
        "through `state`, all that decides the answers; keep no answer in the wrapper.",
    ),
    # ---------------------------------------------------------------------------------------- attacks and the like
    "beats-noise": Meaning(
        "On a linear model, of which the best attack is known, a crafter does better than random noise.",
        "Look at the sign of the step: the loss of the true label must rise.",
    ),
    "stops": Meaning(
        "Its trace holds the images that it had at each of oracle.stops, and taking them changes nothing else.",
        "Note the images when each image has been asked that often: AttackResult(x, queries, trace={stop: images}).",
    ),
    "queries": Meaning(
        "It reports as many queries as the oracle has answered.", "Return oracle.spent; where it asks nothing, 0."
    ),
    "budget": Meaning(
        "It never spends more than the total, and hands in what it has when the budget ends.",
        "Ask oracle.left(ids) and oracle.remaining before a query, and return the best images on BudgetExceeded.",
    ),
    "audit": Meaning(
        "An audit declares access GRADIENTS and no queries, holds a crafter, and refuses to run without the victim.",
        "Declare AttackTraits(Access.GRADIENTS, queries=False, audit=True), and raise MissingCapability in run().",
    ),
    # ---------------------------------------------------------------------------------------------------- models
    "meta": Meaning(
        "build() makes its layers on torch's current device, so that a network can be described without memory.",
        "Name no device in build(), and make no tensor from numbers that were computed elsewhere.",
    ),
}
