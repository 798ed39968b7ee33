"""Sound on its way in: wav files (`wav`) and the features that students see (`features`)."""
