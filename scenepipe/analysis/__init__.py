"""SceneBuilder analysis: language, symbols, rhythm, emotion, tension, field, Δ-code. Pure functions over text."""
