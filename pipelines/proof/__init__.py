"""The proof: the whole method measured on clips that make themselves, and the page of what came out."""
