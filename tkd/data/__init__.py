"""Labelled sound on disk: reading (`speech_commands`), checking (`check`) and speaking (`synth`) a keyword corpus."""
