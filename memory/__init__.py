"""The archives, one file each: name -> "module:attribute", imported at first use. Code room."""

if __name__ != "scenepipe.memory":
    raise ImportError(f"import scenepipe.memory, not {__name__}: a second copy of an archive is a second class")

ARCHIVES = {
    "memory": "scenepipe.memory.memory:MemoryArchive",
    "postgres": "scenepipe.memory.postgres:PostgresArchive",
    "qdrant": "scenepipe.memory.qdrant:QdrantArchive",
    "qdrant-edge": "scenepipe.memory.qdrant_edge:QdrantEdgeArchive",
    "redis": "scenepipe.memory.redis:RedisArchive",
    "sqlite": "scenepipe.memory.sqlite:SqliteArchive",
    "weaviate": "scenepipe.memory.weaviate:WeaviateArchive",
}
