"""Named configurations: the default, the paper, its relatives, and the supervised upper bound.

The relatives share backbone, data, preparation, scaling, augmentation and choice of threshold with `default`; what is
theirs is the objective, and the activation, normalisation and head that it needs to learn. Each is as its authors
describe it where this package has the part, and says where it has not.
"""

from __future__ import annotations

from dataclasses import replace

from compseg_jax.config.network import Network
from compseg_jax.config.objective import Objective
from compseg_jax.config.training import Optimiser, Training

# ReLU with He's start and batch normalisation, as in the residual networks that the classifiers' authors used.
# Depth 1, like `default`: a view that covers the sample learns to recognise it and paints all of its tissue.
_CLASSIFIER = Network(
    base=16, depth=1, activation="relu", kernel_init="he_normal", normalisation="batch", way_up="bilinear"
)
# Class activation maps: the mean of the logits, which is global average pooling before a linear classifier. Zhou
# et al. (2016), arXiv:1512.04150. Their maps are scaled to [0, 1] within an image; here a pixel keeps its
# probability, since maps of healthy samples must be comparable.
_CAM = Objective(error="cross_entropy", pooling="tissue", pooling_function="mean_logit", transfer="logistic")
# Warm-up and cosine as in `default` instead of stochastic gradient descent with momentum or Adam.
_RELATIVE = Training(
    objective=_CAM,
    prepare=("auto",),
    network=_CLASSIFIER,
    optimiser=Optimiser(learning_rate=1e-3, schedule="cosine"),
    epochs=60,
    starts=6,
    augment="dihedral",
    smooth_maps="validation",
)

SUMMARIES = {
    "default": "EMSC, a small U-Net; most active tenth, then grafts",
    "paper2019": "the paper to the letter, plus per-band standardisation",
    "compsegnet": "the paper's loss and transfer function, made to converge",
    "texture": "for histology images: mean of the logits, then grafts",
    "supervised": "learns from reference masks: the upper bound",
    "openvibspec2022": "the authors' later public code: trapezoid, batch norm",
    "cam": "class activation maps: the mean of the logits",
    "saliency": "the same network, read by the gradient of its score",
    "lse": "the soft maximum of the logits (log-mean-exp)",
    "attention_mil": "multiple-instance learning with gated attention",
    "maxmin": "a region that decides and a remainder that says nothing",
}
"""A line about each recipe."""

RECIPES: dict[str, Training] = {
    # What a diseased sample must mark and a healthy one must not is its most active tenth (BUILD_NOTES.md).
    "default": Training(
        recipe="default",
        grafting=True,
        second_view=True,
        smooth_maps="validation",
        prepare=("auto",),
        objective=Objective(
            alpha=0.1,
            error="cross_entropy",
            pooling="tissue",
            pooling_function="top_share",
            transfer="logistic",
        ),
        # Small on purpose: 16 features learn the labels of brain scans by more than the lesion (BUILD_NOTES.md).
        # Hundreds of collinear bands are first projected onto their leading components; fewer than 64 are not.
        network=Network(base=8, depth=1, way_up="bilinear", front=16, front_start="principal_components"),
        optimiser=Optimiser(learning_rate=1e-3, schedule="cosine"),
        epochs=0,
        starts=6,
        augment="dihedral",
    ),
    "paper2019": Training(
        recipe="paper2019",
        objective=Objective(),
        network=Network(base=64),
        optimiser=Optimiser(),
        epochs=400,
        threshold="paper",
        checkpoint_every=20,
    ),
    # What the paper's own objective is worth: its transfer function, its absolute error and its U-Net with SoftPlus,
    # from a start below the crossing point of σ (β's plateau above it says nothing), over the tissue instead of the
    # image, on corrected spectra and their leading components, without a comb (docs/decisions/40). Of three channels
    # there are no components to start from, and a start may lie where σ is flat: another one is drawn then.
    "compsegnet": Training(
        recipe="compsegnet",
        prepare=("auto",),
        objective=Objective(pooling="tissue"),
        network=Network(
            base=8, depth=1, way_up="bilinear", head_bias=-3.0, front=16, front_start="principal_components"
        ),
        optimiser=Optimiser(learning_rate=1e-3, schedule="cosine"),
        epochs=60,
        starts=6,
        augment="dihedral",
        smooth_maps="validation",
    ),
    # For ordinary images (docs/recipes.md says when, and what it reaches): class activation maps, which ask for all of
    # an image, and then grafts (docs/decisions/72).
    "texture": replace(_RELATIVE, recipe="texture", epochs=30, grafting=True),
    "supervised": Training(
        recipe="supervised",
        prepare=("auto",),
        threshold="reference",
        objective=Objective(target="reference", pooling="tissue"),
        network=Network(
            base=16, depth=2, activation="relu", kernel_init="he_normal", way_up="bilinear", head_bias=-3.0
        ),
        optimiser=Optimiser(learning_rate=1e-3, schedule="cosine"),
        epochs=60,
        augment="dihedral",
    ),
    # The authors' group's later public code (RUB-Bioinf/OpenVibSpec, src/openvibspec/compsegnet.py, 2022): depth 4,
    # batch normalisation also before the sigmoid, dropout from the second level of the encoder on. Its mask is the
    # tissue here; its base of 64 is 16. Both weights are ½, what its class weights are for balanced labels: set
    # diseased_weight to the share of healthy training samples and healthy_weight to that of diseased ones.
    # It passes learning rate / epochs as RMSprop's decay (decay = 1.67e-5 gives that); meant is .9, and a fall of the
    # rate by 1/(1 + 1.67e-5·step), 2.5 % over its 1500 steps, which is left out. Glorot's normal start is used in the
    # decoder too, where the code leaves Keras' uniform one of the same variance.
    "openvibspec2022": Training(
        recipe="openvibspec2022",
        prepare=("auto",),
        objective=Objective(
            alpha=0.05,
            beta=0.8,
            transfer="trapezoid",
            error="cross_entropy",
            pooling="tissue",
            healthy_weight=0.5,
            diseased_weight=0.5,
            negatives_weight=1.0,
        ),
        network=Network(
            base=16,
            depth=4,
            activation="relu",
            kernel_init="glorot_normal",
            way_up="bilinear",
            normalisation="batch",
            dropout=0.2,
            head_norm=True,
        ),
        optimiser=Optimiser(learning_rate=5e-3, schedule="step", step_factor=0.9, step_epochs=30),
        epochs=300,
        batch_size=20,
        checkpoint_every=20,
    ),
    "cam": replace(_RELATIVE, recipe="cam"),
    # The same network, read by the gradient of its score. Simonyan et al. (2013), arXiv:1312.6034.
    "saliency": replace(
        _RELATIVE,
        recipe="saliency",
        network=replace(_CLASSIFIER, activation_map="saliency"),
    ),
    # Pinheiro and Collobert (2015), arXiv:1411.6228; r = 10 is the default of the code of Rony et al.'s survey
    # (jeromerony/survey_wsl_histology).
    "lse": replace(
        _RELATIVE,
        recipe="lse",
        objective=replace(_CAM, pooling_function="log_mean_exp", sharpness=10.0),
    ),
    # Ilse et al. (2018), arXiv:1802.04712, gated; their 128 hidden features belong to embeddings of 500, a pixel's
    # has 16 here, hence 32.
    "attention_mil": replace(
        _RELATIVE,
        recipe="attention_mil",
        objective=replace(_CAM, pooling_function="attention"),
        network=replace(_CLASSIFIER, attention_features=32, activation_map="attention"),
    ),
    # After Belharbi et al. (2022), arXiv:2011.07221: without its second network and with a barrier of one sharpness
    # (compseg_jax/objective/maxmin.py).
    "maxmin": replace(
        _RELATIVE, recipe="maxmin", starts=1, objective=Objective(error="maxmin", pooling="tissue")
    ),
}
"""The recipes that `compseg train --recipe NAME` knows, by name; `compseg recipe` lists them."""
