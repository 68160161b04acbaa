"""Computations of a study of thinking: accuracy against cost, choice by difficulty, votes fitted to agreement."""
