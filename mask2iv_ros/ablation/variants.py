"""The rows of the ablation: one stage 2, trained several ways with all else equal.

The paper's ablation (HOI4D, true masks) adds one part a row. Each of its rows is one here, and two neighbours
differ in that part alone, so the tables can be compared line by line:

    paper's row             here            told of the trajectory  by               perturbed  loss in contact
    ControlNet              controlnet      interactor              branch           no         1
    mask latent             interactor      interactor              concatenation    no         1
    + object mask           concatenated    both                    concatenation    no         1
    + random dilate/erode   no_contact      both                    concatenation    yes        1
    + contact loss          full            both                    concatenation    yes        lambda

The object's mask comes in the paper's third row, so its first two are told the interactor's alone. Three rows are
not in that table: `image_only`, told no masks; `controlnet_both`, a branch for both masks, which is to
`concatenated` what `controlnet` is to `interactor`; and `no_perturbation`, `full` without its perturbation. To
`image_only` the paper's nearest is its base model fine-tuned on first frames and texts, of another table.

Without the contact loss lambda is 1: contact then weighs what its pixels weigh otherwise. The weights of arm and
object everywhere, which the paper does not have, are the experiment's in every row (0 in the shipped one).

Equal in all rows: steps, data and their order, the noise of every step, and the weights that training begins with
(`ControlledUNet` has those of the network that it is compared with, and a branch more).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.conditioning import Masks
from mask2iv_ros.training.experiment import Experiment


@dataclass(frozen=True)
class Published:
    """A row of the paper's tables.

    Attributes:
        title: its name there.
        figures: by our names; HOI4D.
    """

    title: str
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Variant:
    """A row of ours.

    Attributes:
        title: in words.
        masks: that stage 2 is told.
        branch: told by a ControlNet-style branch.
        perturbed: trained on dilated and eroded masks.
        contact: trained with lambda in the contact map.
        paper: the row that it is.
    """

    title: str
    masks: Masks = "both"
    branch: bool = False
    perturbed: bool = False
    contact: bool = False
    paper: Published | None = None

    def experiment(self, full: Experiment, seed: int) -> Experiment:
        """Return the training of this row.

        Args:
            full: the training of the row `full` (`require_full`).
            seed: of initial weights, order of the data and noise.
        """
        return replace(
            full,
            masks=self.masks,
            network=replace(full.network, branch=self.branch),
            perturbation=full.perturbation if self.perturbed else None,
            weights=full.weights if self.contact else replace(full.weights, contact=1.0),
            seed=seed,
        )


@dataclass(frozen=True)
class Step:
    """What one row has that another has not.

    Attributes:
        part: in words.
        before: row without it.
        after: row with it.
    """

    part: str
    before: str
    after: str


def _published(title: str, fvd: float, lpips: float, psnr: float, ssim: float) -> Published:
    return Published(title, {"fvd": fvd, "lpips": lpips, "psnr": psnr, "ssim": ssim})


VARIANTS: dict[str, Variant] = {
    "image_only": Variant(
        "first frame alone",
        "none",
        paper=_published("DynamiCrafter fine-tuned (told a text too)", 169, 0.206, 20.49, 0.721),
    ),
    "controlnet": Variant(
        "interactor's mask, branch",
        "interactor",
        branch=True,
        paper=_published("ControlNet", 157.38, 0.182, 21.49, 0.747),
    ),
    "interactor": Variant(
        "interactor's mask", "interactor", paper=_published("mask latent", 130.07, 0.157, 22.33, 0.760)
    ),
    "controlnet_both": Variant("both masks, branch", branch=True),
    "concatenated": Variant("both masks", paper=_published("+ object mask", 115.14, 0.132, 23.85, 0.802)),
    "no_contact": Variant(
        "both, perturbed", perturbed=True, paper=_published("+ random dilate/erode", 108.80, 0.124, 24.16, 0.802)
    ),
    "no_perturbation": Variant("both, contact loss", contact=True),
    "full": Variant(
        "both, perturbed, contact loss",
        perturbed=True,
        contact=True,
        paper=_published("+ contact loss", 104.61, 0.126, 24.37, 0.804),
    ),
}

# The rows of the paper's ablation, in its order.
PAPERS = ("controlnet", "interactor", "concatenated", "no_contact", "full")

# The first is of two tables of the paper, the last two of none.
STEPS = (
    Step("interactor's mask", "image_only", "interactor"),
    Step("concatenation, not a branch", "controlnet", "interactor"),
    Step("object's mask", "interactor", "concatenated"),
    Step("random dilate/erode", "concatenated", "no_contact"),
    Step("contact loss", "no_contact", "full"),
    Step("concatenation of both, not a branch", "controlnet_both", "concatenated"),
    Step("random dilate/erode beside contact loss", "no_perturbation", "full"),
)


def require_full(full: Experiment) -> None:
    """Check that an experiment has all that rows leave out, and no base whose weights would know masks already.

    Raises:
        Refused: it does not.
    """
    if full.stage != "video" or full.network is None or full.network.branch or full.masks != "both":
        raise Refused(
            f"the experiment is of stage {full.stage}, masks {full.masks!r} and network {full.network}; expected stage "
            "video, both masks and a network without a branch that begins with random weights"
        )
    if full.perturbation is None or not full.perturbation.share or full.weights.contact <= 1:
        raise Refused(
            f"the experiment has perturbation {full.perturbation} and contact {full.weights.contact:g}; expected a "
            "share above 0 and contact above 1, as rows are to leave them out"
        )
    if full.network.gates:
        raise Refused(f"network.gates is {full.network.gates}; expected 0, as a branch takes none")
    if full.perturbation.sampled:
        raise Refused(
            f"perturbation.sampled is {full.perturbation.sampled:g}; expected 0, as the paper's rows have none"
        )
    if full.sampling.guided:
        raise Refused(
            f"sampling.guidance is {full.sampling.guidance:g}; expected 1, as a row without masks has nothing to be "
            "led away from"
        )


def require_variants(names: tuple[str, ...]) -> None:
    """Check names of rows.

    Raises:
        Refused: one is unknown or there twice.
    """
    for name in names:
        if name not in VARIANTS:
            raise Refused(f"variant {name!r} is unknown; accepted are {', '.join(VARIANTS)}")
    if len(set(names)) < len(names) or not names:
        raise Refused(f"variants are {', '.join(names) or 'none'}; expected one or more, each once")
