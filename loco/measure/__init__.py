"""What is measured about models, directions and this program: analysis, benchmarks, transfer, figures."""
