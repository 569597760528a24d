"""Sentence encoders, one file each: name -> "module:attribute", imported at first use."""

ENCODERS = {
    "usem3": "scenepipe.encoders.usem3:Usem3Encoder",
    "hash": "scenepipe.testing.hash_encoder:HashEncoder",
}
