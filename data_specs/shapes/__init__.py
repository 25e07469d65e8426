"""The data set that makes itself: clips of coloured shapes that move, with words, questions and boxes known exactly."""
