"""A pipeline as a service: the OpenAI API over scenes, with chats, admission and everything an operator needs."""
