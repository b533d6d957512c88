"""Mid-infrared absorption of colon tissue: named bands → constituents → tissue types.

Sources, cited by these keys beside every band:

- M08: Movasaghi, Rehman, Rehman, Appl. Spectrosc. Rev. 43:134 (2008), tables of tissue assignments.
- B14: Baker et al., Nat. Protoc. 9:1771 (2014), figure 1 and its assignments.
- B07: Barth, Biochim. Biophys. Acta 1767:1073 (2007), amide I of secondary structures.
- K15: Kröger-Lui et al., Analyst (2015), doi 10.1039/c4an02001d: goblet cells absorb at 9.2 to 9.7 µm and
  7.6 to 8.6 µm.
- OS: widths are this project's least-squares fit of Gaussian bands to the class means of the 731 open tissue
  spectra (collagen, glycogen, DNA, lipids) that Orange Spectroscopy distributes as ``collagen.csv``,
  rounded; residuals .009 to .020 of the strongest band. Below 1180 cm⁻¹ overlapping bands are not resolved
  by that fit, and the width of the nearest resolved band is taken.

Heights are of this simulation: they reproduce the familiar order of the bands, not molar absorptivities.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from compseg_jax.readers.amide_i import AMIDE_I_CM1


class Band(NamedTuple):
    """One Gaussian absorption band: position and full width at half maximum, both in cm⁻¹."""

    position_cm1: float
    fwhm_cm1: float


BANDS: Mapping[str, Band] = MappingProxyType(
    {
        "ester C=O": Band(1740.0, 27.0),  # ν(C=O) of lipid esters: M08, B14
        "base C=O": Band(1710.0, 50.0),  # ν(C=O) of nucleic acid bases: M08
        "amide I": Band(AMIDE_I_CM1, 57.0),  # α-helical and disordered protein: M08, B14
        "amide I beta": Band(1633.0, 57.0),  # β-sheet: B07
        "amide I collagen": Band(1660.0, 55.0),  # triple helix: M08
        "amide II": Band(1545.0, 65.0),  # M08, B14
        "CH2 bending": Band(1467.0, 36.0),  # δ(CH₂) of lipid chains: M08
        "CH3 bending": Band(1453.0, 45.0),  # δas(CH₃) of proteins: M08, B14
        "carboxylate": Band(1400.0, 45.0),  # νs(COO⁻): M08, B14
        "mucin CH3": Band(1375.0, 36.0),  # N-acetyl of glycans: M08
        "collagen CH2 wag": Band(1338.0, 40.0),  # side chains of collagen: M08
        "amide III": Band(1310.0, 45.0),  # M08
        "collagen amide III": Band(1284.0, 40.0),  # M08
        "collagen 1240": Band(1240.0, 45.0),  # amide III and CH₂ wag of collagen: M08
        "phosphate as": Band(1240.0, 55.0),  # νas(PO₂⁻) of nucleic acids, phospholipids: M08, B14
        "collagen 1204": Band(1204.0, 40.0),  # M08
        "ester C-O": Band(1170.0, 53.0),  # νas(CO–O–C) of lipid esters: M08
        "glycogen 1155": Band(1155.0, 28.0),  # ν(C–O), ν(C–C): M08, B14
        "ribose": Band(1120.0, 45.0),  # ν(C–O) of RNA ribose: M08
        "mucin 1120": Band(1120.0, 45.0),  # ν(C–O) of saccharides: M08
        "phosphate s": Band(1085.0, 45.0),  # νs(PO₂⁻): M08, B14
        "collagen 1082": Band(1082.0, 45.0),  # ν(C–O) of collagen carbohydrate: M08
        "glycogen 1080": Band(1080.0, 40.0),  # M08
        "mucin 1076": Band(1076.0, 45.0),  # K15
        "DNA backbone": Band(1055.0, 50.0),  # ν(C–O) of deoxyribose: M08
        "glycogen 1045": Band(1045.0, 30.0),  # OH stretching coupled with bending: M08
        "mucin 1040": Band(1040.0, 45.0),  # K15
        "collagen 1032": Band(1032.0, 40.0),  # M08
        "glycogen 1028": Band(1028.0, 30.0),  # M08, B14
        "nucleic 968": Band(968.0, 25.0),  # C–C and C–O of deoxyribose, PO₃²⁻: M08
    }
)

# Peak absorbance of each band at unit concentration and unit relative thickness.
CONSTITUENTS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "protein": {
            "amide I": 1.0,
            "amide II": 0.62,
            "CH3 bending": 0.22,
            "carboxylate": 0.20,
            "amide III": 0.14,
            "phosphate as": 0.10,
        },
        "beta protein": {
            "amide I beta": 1.0,
            "amide II": 0.62,
            "CH3 bending": 0.22,
            "carboxylate": 0.20,
            "amide III": 0.10,
            "phosphate as": 0.14,
        },
        "collagen": {
            "amide I collagen": 1.0,
            "amide II": 0.62,
            "CH3 bending": 0.24,
            "carboxylate": 0.18,
            "collagen CH2 wag": 0.16,
            "collagen amide III": 0.14,
            "collagen 1240": 0.22,
            "collagen 1204": 0.14,
            "collagen 1082": 0.20,
            "collagen 1032": 0.18,
        },
        "nucleic acid": {
            "base C=O": 0.25,
            "phosphate as": 1.0,
            "phosphate s": 1.0,
            "ribose": 0.35,
            "DNA backbone": 0.5,
            "nucleic 968": 0.4,
        },
        "glycogen": {
            "glycogen 1155": 0.5,
            "glycogen 1080": 0.8,
            "glycogen 1045": 0.7,
            "glycogen 1028": 1.0,
        },
        "mucin": {
            "amide I": 0.45,
            "amide II": 0.25,
            "mucin CH3": 0.25,
            "phosphate as": 0.20,
            "mucin 1120": 0.55,
            "mucin 1076": 1.0,
            "mucin 1040": 0.9,
        },
        "lipid": {
            "ester C=O": 1.0,
            "CH2 bending": 0.7,
            "ester C-O": 0.6,
            "phosphate as": 0.4,
            "phosphate s": 0.4,
        },
    }
)

# Relative concentration of each constituent in pure tissue of a type; columns as in CONSTITUENTS.
#                   protein  beta  collagen  nucleic  glycogen  mucin  lipid
_RECIPES: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "epithelium": (0.74, 0.12, 0.00, 0.130, 0.120, 0.04, 0.070),
        "mucus": (0.22, 0.03, 0.00, 0.020, 0.020, 0.48, 0.020),
        "stroma": (0.16, 0.02, 0.66, 0.040, 0.015, 0.02, 0.050),
        "inflammation": (0.68, 0.08, 0.03, 0.250, 0.030, 0.00, 0.060),
    }
)
TISSUE_TYPES: tuple[str, ...] = (*_RECIPES, "tumour")

# What malignancy adds to epithelium at contrast 1: nucleic acid up relative to lipid and a changed protein
# structure (Rigas et al., PNAS 87:8140 (1990); Yao et al., Spectrosc. Spectr. Anal. 31:297 (2011)), glycogen
# and carbohydrate down (Salman et al., Cell. Mol. Biol. 47:OL159 (2001)).
_MALIGNANT_CHANGE: tuple[float, ...] = (-0.06, 0.06, 0.00, 0.045, -0.055, -0.02, -0.020)
MAX_CONTRAST = 2.0


def constituent_spectra(
    wavenumbers_cm1: Float[np.ndarray, " c"], *, shift_cm1: float = 0.0
) -> Float[np.ndarray, "k c"]:
    """Absorbance of every constituent at unit concentration and thickness, rows as in `CONSTITUENTS`.

    Args:
      wavenumbers_cm1: where to evaluate, cm⁻¹, shape (c,).
      shift_cm1: added to every band position, cm⁻¹: an instrument's calibration error.

    Returns:
      float64 array of shape (constituents, c).
    """
    spectra = np.zeros((len(CONSTITUENTS), wavenumbers_cm1.size))
    for row, heights in zip(spectra, CONSTITUENTS.values(), strict=True):
        for name, height in heights.items():
            band = BANDS[name]
            distance = (wavenumbers_cm1 - band.position_cm1 - shift_cm1) / band.fwhm_cm1
            row += height * np.exp(-4.0 * np.log(2.0) * distance**2)
    return spectra


def tissue_concentrations(contrast: float = 1.0) -> Float[np.ndarray, "t k"]:
    """Concentration of every constituent in every tissue type, rows as in `TISSUE_TYPES`.

    Args:
      contrast: how much tumour differs from epithelium, 0 (not at all) to 2; 1 is the table above.

    Returns:
      float64 array of shape (tissue types, constituents), every entry ≥ 0.

    Raises:
      ValueError: if ``contrast`` lies outside [0, 2].
    """
    if not 0.0 <= contrast <= MAX_CONTRAST:
        raise ValueError(f"contrast: found {contrast}; required 0 to {MAX_CONTRAST}. Choose a value between.")
    epithelium = np.asarray(_RECIPES["epithelium"])
    tumour = epithelium + contrast * np.asarray(_MALIGNANT_CHANGE)
    return np.vstack([*_RECIPES.values(), tumour])
