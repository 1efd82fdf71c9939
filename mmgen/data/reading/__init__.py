"""The ways in which samples lie on disks, as manifests: folders, CSV, shards, published layouts."""
