"""The embedded default: a face renderer with exact region masks, and a small denoiser trained on its faces."""
