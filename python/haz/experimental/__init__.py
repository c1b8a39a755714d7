"""What Ray calls experimental: the module `haz.experimental.tqdm_ray`."""
