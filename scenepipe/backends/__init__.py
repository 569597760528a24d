"""One file per engine: name -> "module:attribute", imported at first use."""

BACKENDS = {
    "llama-cpp": "scenepipe.backends.llama_cpp:LlamaCpp",
    "fake": "scenepipe.testing.fake_backend:FakeBackend",
}
