"""One file per engine: name -> "module:attribute", imported at first use."""

BACKENDS = {
    "llama-cpp": "scenepipe.backends.llama_cpp:LlamaCpp",
    "transformers": "scenepipe.backends.transformers:Transformers",
    "fake": "scenepipe.testing.fake_backend:FakeBackend",
}
