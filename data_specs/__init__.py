"""What the data is: data set specifications, annotations, manifests, regions and shards."""
