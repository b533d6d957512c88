"""Amide I, the strongest band of protein: the one set of windows that everything measures it in.

Sources: Baker et al., Nat. Protoc. 9:1771 (2014), figure 1; Lasch, Chemom. Intell. Lab. Syst. 117:100 (2012), amide I
(1600–1700 cm⁻¹) as the measure of thickness.
"""

AMIDE_I_CM1 = 1655.0
"""Its maximum for α-helical and disordered protein."""
AMIDE_I_TOP_CM1 = (1640.0, 1670.0)
"""Where its top lies for α-helix, disordered protein and collagen."""
AMIDE_I_FEET_CM1 = (1600.0, 1700.0)
"""Its feet: between them lies the line above which its height is taken."""
