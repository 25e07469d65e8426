"""Results as PNG, for papers and READMEs: the colours, marks and dashes of the pages."""
