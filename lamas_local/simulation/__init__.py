"""Stands in for the engine and the model in virtual time: seconds from a cost model, answers from a model of skill."""
