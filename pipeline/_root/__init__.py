"""Re-render a talking-head video from a viewpoint that no camera had."""
