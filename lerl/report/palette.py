"""The colours of all pictures, apart for colour-blind readers too.

Source: Okabe and Ito 2008, "Color Universal Design". Nothing else is imported here, so that any file may name a colour.
"""

ORANGE, BLUE, GREEN, PURPLE = "#D55E00", "#0072B2", "#009E73", "#CC79A7"
BLACK, INK, GREY, PALE = "#000000", "#555555", "#9a9a9a", "#dcdcdc"
"""INK is for titles and captions, GREY for what is shown only to compare with, PALE for guide lines and bands."""
