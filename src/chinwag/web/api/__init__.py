"""The rest of OpenAI's API with the same engines: one module a route."""
