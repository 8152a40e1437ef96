"""Opening models: from a folder or a zoo name to a `Denoiser`."""
