"""What kernel paths work on: the kernel object, address spaces and files with their locks; costs.

Imports no other room of actors/.
"""
