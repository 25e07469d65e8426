"""How good it is: retrieval, multiple choice, question answering, reports."""
