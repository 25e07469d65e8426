"""One parser a family of official annotation files, each giving rows of the manifest. See ``registry``."""
