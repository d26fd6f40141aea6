"""Finding the best tile per problem on a device, and keeping it."""
