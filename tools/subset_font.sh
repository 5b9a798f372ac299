#!/bin/sh
# Makes assets/fonts/DejaVuSans-subset.ttf: the characters that figures use, out of DejaVu Sans 2.37.
# Needs pyftsubset (PyPI: fonttools) and the font. Usage: tools/subset_font.sh /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
set -eu
out="$(dirname "$0")/../assets/fonts/DejaVuSans-subset.ttf"
# ASCII; ± × ² ³ · ¹ ¼ ½; the superscripts ⁰ ⁴–⁹ ⁻ and ⁺; subscripts 0–9; Greek α–ω; – − ℓ ∞ ≤ ≥ √ ⊥ …
pyftsubset "$1" --output-file="$out" --no-hinting --desubroutinize --layout-features='kern' --notdef-outline --name-IDs='0,1,2,3,4,5,6,13,14' \
  --unicodes='U+0020-007E,U+00A0,U+00B1-00B3,U+00B7,U+00B9,U+00BC,U+00BD,U+00D7,U+03B1-03C9,U+2013,U+2026,U+2070,U+2074-207B,U+2080-2089,U+2113,U+2212,U+221A,U+221E,U+2264,U+2265,U+22A5'
ls -l "$out"
