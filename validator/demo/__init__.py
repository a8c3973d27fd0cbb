"""A whole data DAO on one machine: the real program, a real model on real data, and a crowd to judge."""
