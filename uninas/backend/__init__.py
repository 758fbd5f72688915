"""The torch side: layers, emission of modules, `create_model`, exports."""
