"""scenepipe: text -> scene -> LoRA registers -> text."""
